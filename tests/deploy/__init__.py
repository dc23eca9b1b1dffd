"""The deployment: docker-compose.yml and Dockerfile, held to rules and run without Docker."""

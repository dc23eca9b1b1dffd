"""What is done in the Sent folder: copies put there, and mails in doubt looked up."""

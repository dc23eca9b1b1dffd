"""The contract: names, identifiers, errors, inputs and results. Imports nothing else of ours."""

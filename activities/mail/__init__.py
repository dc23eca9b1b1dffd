"""Mail protocols and formats: SMTP, IMAP, composing, parsing, sanitising."""

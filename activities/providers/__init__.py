"""What is known of mail providers: one file each, found by the host an account names."""

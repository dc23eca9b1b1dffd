"""What each release left on its users' disks: recorded once, read by every later version."""

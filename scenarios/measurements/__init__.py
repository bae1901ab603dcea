"""What others have measured on servers."""

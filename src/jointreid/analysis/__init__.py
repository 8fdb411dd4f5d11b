"""What runs say when laid side by side."""

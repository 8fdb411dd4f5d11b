"""What a person is told: errors, values in words, progress."""

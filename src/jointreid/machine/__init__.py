"""What the computer gives: files, devices, memory, compiled loops and optional packages."""

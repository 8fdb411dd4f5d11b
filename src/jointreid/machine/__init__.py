"""The machine: files, checksums, devices, memory, compiled loops and optional packages."""

"""The paper's tables: its numbers as data, the trainings that reproduce them, and both side by side."""

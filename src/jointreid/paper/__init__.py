"""The paper's tables: its numbers as data, the trainings behind them, and both side by side."""

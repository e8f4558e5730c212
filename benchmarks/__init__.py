"""The counter bot beside a bare consumer, measured from outside: ``python -m benchmarks``."""

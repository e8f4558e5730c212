"""Tests of the benchmarks' own code: that they measure what they say they do."""

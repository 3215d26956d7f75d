"""Speed and memory against plain loops; see BENCHMARKS.md."""

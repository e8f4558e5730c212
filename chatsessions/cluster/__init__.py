"""Between workers: sessions whose client or caller is at another worker than their owner."""

"""Figures of this very process."""

from __future__ import annotations

import os
import time

from medagent.testing.usage import cpu_seconds, forget_peak_rss, peak_rss_mb, rss_mb


def test_cpu_of_a_process_grows_with_what_it_does() -> None:
    before, own = cpu_seconds(os.getpid()), time.process_time()
    while time.process_time() - own < 0.05:
        pass
    # counted in ticks of 10 ms
    assert cpu_seconds(os.getpid()) - before >= 0.03


def test_the_peak_of_memory_can_be_forgotten() -> None:
    block = b"x" * 50_000_000
    assert peak_rss_mb(os.getpid()) >= rss_mb(os.getpid()) > 50
    before = peak_rss_mb(os.getpid())
    del block
    forget_peak_rss(os.getpid())
    assert peak_rss_mb(os.getpid()) < before - 40

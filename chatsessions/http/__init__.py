"""Clients that speak HTTP: views, their answers, and event streams."""

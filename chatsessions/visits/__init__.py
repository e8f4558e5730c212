"""Clients that come by a request and have no connection."""

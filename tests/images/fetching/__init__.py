"""Tests of `Fetcher` against an HTTP server on this machine."""

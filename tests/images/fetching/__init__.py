"""Tests of the fetcher, by what may go wrong; a site of this machine serves all of them."""

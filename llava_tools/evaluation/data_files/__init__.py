"""Reads the files of data sets, which are strangers', and writes those that servers take."""

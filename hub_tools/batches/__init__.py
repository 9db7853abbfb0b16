"""Judging by batch files: the same requests as by a server, written to files, their answers into the same journal."""

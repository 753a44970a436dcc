"""Frames predicted from earlier ones: what encoder and decoder of a sequence share, and the search for motion."""

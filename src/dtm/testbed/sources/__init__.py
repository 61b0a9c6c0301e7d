"""The mixture's sources, one a file: a writer, and the settings that it reads."""

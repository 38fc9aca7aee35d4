"""The source behind a lens, or the sky itself, from any data: what several papers share."""

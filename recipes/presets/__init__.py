"""One file per recipe: `CONFIG`, and before it what to expect of it and by which source."""

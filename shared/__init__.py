"""What both sides of the stream speak: job file, row tables, lane, registry, errors."""

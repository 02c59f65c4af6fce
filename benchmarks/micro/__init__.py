"""Everything on the path of one request, measured apart: `make bench-micro`."""

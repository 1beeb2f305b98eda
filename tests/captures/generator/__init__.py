"""What generate.py writes: headers (packets), file formats (capfile), and the captures themselves by subject."""

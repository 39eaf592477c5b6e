"""From a city's files to the rows of its layers."""

import os

# GDAL reads what it is given, and must follow no file to others, or into the network. It looks at
# this when it is loaded for the first time; `ingest.sniff` refuses such files besides.
os.environ.setdefault("OGR_SKIP", "OGR_VRT,WFS,OAPIF,CSW,PGDump,Carto")

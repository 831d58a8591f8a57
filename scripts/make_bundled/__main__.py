"""Write the bundled data set and print its digest."""

from scripts.make_bundled import write
from text2sql.data.sources.bundled import FILE, SHA256

digest = write(FILE)
print(f"{FILE}: SHA-256 of its rows {digest}")
if digest != SHA256:
    print("The rows are other ones than before: raise VERSION and set SHA256 in text2sql/data/sources/bundled.py.")

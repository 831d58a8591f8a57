"""Values to put into columns: near literals, dates, patterns, documents, and on either side of what functions do."""

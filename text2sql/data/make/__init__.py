"""Questions with their SQL, made from a schema and its values by shapes: the bundled data, and a user's own."""

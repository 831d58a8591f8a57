"""What commands other than runs do and print: match, evaluate, ask, bill, models."""

"""Face-attribute readers: a picture in, apparent age, gender and group out; the report says whose opinion it is."""

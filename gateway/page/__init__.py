"""The live page: `GET /`, what it is fed with (`GET /events`), and the files it is made of."""

"""The distribution `perwatt-client`: the client alone, for applications that ask and need no search engine.

`python -m deploy.client OUT` (`make client`) copies `service/client`, the structs of the answers and the shapes of
frameworks around them into a package `perwatt_client`, renames their imports, and builds a source archive, and a wheel
from that. There is one source of the client: what is published is the code that the server's own tests run.

`js/` is the client for JavaScript, which has no source elsewhere; `typescript.py` makes the types of its requests and
answers from the API's schema.
"""

"""Two ways to search from the command line: in this process, or on a running server.

Both give the same hits. The first needs the files and loads the model. The second needs neither, and uses the batch
route like any other client. They share one interface, so that `perwatt search` and `perwatt eval` are written once.
"""

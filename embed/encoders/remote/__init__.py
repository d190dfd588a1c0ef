"""Models that run elsewhere: on an accelerator, in another service, at a provider.

`endpoint` asks over HTTP and asks again; `shapes` knows what is asked and answered; `encoder` is the encoder, and
notices when the model at the other end becomes another one. Texts and keys stay out of every message and log.
"""

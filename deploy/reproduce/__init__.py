"""Published claims about search on Arm and x86, held against this machine.

claims.toml   who said what, where and when, and of which machines
claim         one of them, and what it would take to judge it here
trials        the ratios that can be measured on one machine
verdict       confirmed, refuted, undecided or not comparable here, and why
command       `perwatt bench reproduce`
"""

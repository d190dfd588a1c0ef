"""The bill of an encoder on another machine, beside that of the machine that was measured."""

from __future__ import annotations

from loadtest import units
from loadtest.analysis.costs.encoder_bill import encoder_bill
from loadtest.analysis.reading import Reading
from loadtest.report.page import Section, Table

LEAD = (
    "Texts are encoded on another machine, which this run did not measure. What a million tokens cost there is the "
    "user's figure; how many tokens a query has was measured. None of it is in the other figures of this report."
)


def encoder_section(reading: Reading) -> Section | None:
    given = reading.record.encoder
    if given is None or reading.invalid:
        return None
    bill = encoder_bill(reading)
    if bill is None:
        return Section("The encoder elsewhere", f"{LEAD} The answers do not say how many tokens they took.", [])
    rows = [["Tokens a query", units.digits(bill.tokens), "measured"]]
    if bill.usd is not None and given.usd_per_million_tokens is not None:
        price = f"${units.digits(given.usd_per_million_tokens)} a million tokens, given by the user"
        rows.append(["Dollars a million queries, for encoding", units.dollars(bill.usd), price])
        if reading.usd_per_million is not None:
            both = units.dollars(bill.usd + reading.usd_per_million)
            rows.append(["Dollars a million queries, with this machine", both, "the sum of both"])
    if bill.joules is not None and given.joules_per_million_tokens is not None:
        joules = f"{units.joules(given.joules_per_million_tokens)} a million tokens, given by the user"
        rows.append(["Joules a query, of the other machine", units.joules(bill.joules / 1e6), joules])
    return Section("The encoder elsewhere", LEAD, [Table(["", "Value", "From"], rows)])

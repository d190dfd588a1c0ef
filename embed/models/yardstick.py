"""Real sentences by which a model's precision is measured: what people store and ask, short and long.

They are fixed, so that every machine measures the same thing. Kinds that int8 meets in practice are there: questions,
prose, lists, code, numbers, several languages, shouting, and passages that fill the model's whole length.
"""

from __future__ import annotations

SENTENCES = (
    "how do I rotate an api key",
    "best time to plant tomatoes",
    "refund for a cancelled train",
    "python read csv skip header",
    "symptoms of iron deficiency in adults",
    "why does my bread not rise",
    "what is the capital of burkina faso",
    "convert 72 fahrenheit to celsius",
    "The invoice of 14 March was paid twice, and the second transfer has not been returned.",
    "A bridge of this span needs expansion joints at both ends, or the deck buckles in the first hot summer.",
    "Mix the flour with two thirds of the water and leave it to rest for half an hour before the salt goes in.",
    "Penicillin was found in 1928, but it took another fifteen years before it could be made in quantity.",
    "Customers who bought the older charger may exchange it free of cost until the end of the year.",
    "The court held that silence alone is no acceptance unless the parties had dealt with each other before.",
    "Glaciers carve valleys with flat floors and steep walls; rivers cut them into the shape of a V.",
    "Turn off the main valve, open the lowest tap in the house, and wait until no more water comes.",
    "She had read the letter three times before she noticed that it was not addressed to her.",
    "Photosynthesis turns carbon dioxide and water into sugar, with light as its only source of energy.",
    "In double-entry bookkeeping every amount is written down twice, once as a debit and once as a credit.",
    "The orchestra tunes to the oboe because its pitch is the hardest to change.",
    "Sleep before midnight is no better than sleep after it; what counts is that the hours are regular.",
    "A lock that is held while calling unknown code will sooner or later be held for ever.",
    "Elevated lactate in a patient with septic shock predicts mortality independently of blood pressure.",
    "The p53 protein binds to DNA and arrests the cell cycle at the G1 checkpoint when damage is found.",
    "Vaccination of health workers lowered the rate of infection among patients by 38 % (95 % CI 21 to 52).",
    "Mitochondrial DNA is inherited from the mother, which lets population movements be traced through her line.",
    "def retry(times):\n    for attempt in range(times):\n        try:\n            return call()\n"
    "        except TimeoutError:\n            time.sleep(2 ** attempt)",
    "SELECT customer, SUM(amount) FROM orders WHERE placed_at >= '2024-01-01' GROUP BY customer HAVING COUNT(*) > 3;",
    "error: cannot borrow `state` as mutable because it is also borrowed as immutable",
    "git rebase --onto main feature~3 feature",
    "for (size_t i = 0; i < n; ++i) sum += a[i] * b[i];",
    "HTTP/1.1 429 Too Many Requests\nRetry-After: 30",
    "3.14159 2.71828 1.41421 1.61803 0.57721",
    "+49 30 901820, Mon-Fri 8:00-18:00, extension 4471",
    "Order #88213: 2 x M8 bolt A2-70, 1 x washer DIN 125, 12 x nut",
    "WARNING!!! DO NOT OPEN WHILE RUNNING!!!",
    "Die Straßenbahn fährt werktags alle zehn Minuten, sonntags nur jede halbe Stunde.",
    "La bibliothèque ferme à dix-neuf heures, sauf le mercredi où elle reste ouverte jusqu'à vingt et une heures.",
    "El contrato se renueva cada año si ninguna de las partes lo denuncia con un mes de antelación.",
    "東京から京都まで新幹線で約二時間かかります。",
    "Москва стоит на реке, от которой получила своё имя.",
    "🚲 + ☔ = 🙁",
    "ok",
    "?",
)


def yardstick() -> list[str]:
    """The sentences one by one, and passages of 4, 8 and 16 of them; the last are longer than most models read."""
    passages = [
        " ".join(SENTENCES[start : start + size])
        for size in (4, 8, 16)
        for start in range(8, len(SENTENCES) - size, size)
    ]
    return [*SENTENCES, *passages, " ".join(SENTENCES), " ".join(reversed(SENTENCES))]

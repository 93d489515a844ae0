"""Cheap realistic messages for load: templates are rendered once, and a few fields filled in for each message."""

from __future__ import annotations

import secrets

_ADMISSION = (
    rb"MSH|^~\&|MERIDIAN|NORTHFIELD|MEDAGENT|CLINIC|20260302081504+0100||ADT^A01^ADT_A01|%(control_id)b|P|2.5.1",
    b"EVN|A01|20260302081504|||R1182^OKONKWO^ADAEZE^^^^RN",
    b"PID|1||%(patient)08d^^^NORTHFIELD^MR||HOLLOWAY^MARGUERITE^ANNE||19520817|F|||14 QUARRY LANE^^NORTHFIELD^MN^55057^USA",
    b"PD1|||NORTHFIELD FAMILY PRACTICE^^20931|30244^ACHTERBERG^INEKE^^^DR",
    b"NK1|1|HOLLOWAY^PETER^JAMES|SON^Son^HL70063|221 ELM STREET^^FARIBAULT^MN^55021^USA|^PRN^CP^^1^507^5550177",
    b"PV1|1|I|4W^412^B^NORTHFIELD|E|||30117^BERGSTROM^LARS^E^^DR|||CAR|||||A0|||V%(patient)08d|SELF|||||ACC%(patient)08d",
    b"DG1|1||I50.9^Heart failure, unspecified^I10||20260302|A",
    b"AL1|1|DA^Drug allergy^HL70127|7980^Penicillin^RXNORM|MO|Rash",
)
_RESULT = (
    rb"MSH|^~\&|LABCORE|NORTHFIELD|MEDAGENT|CLINIC|20260302101733+0100||ORU^R01^ORU_R01|%(control_id)b|P|2.5.1",
    b"PID|1||%(patient)08d^^^NORTHFIELD^MR||HOLLOWAY^MARGUERITE^ANNE||19520817|F",
    b"PV1|1|I|4W^412^B^NORTHFIELD",
    b"ORC|RE|P%(patient)08d|L%(patient)08d||CM",
    b"OBR|1|P%(patient)08d|L%(patient)08d|24323-8^Comprehensive metabolic 2000 panel^LN|||20260302084000",
    b"OBX|1|NM|2345-7^Glucose^LN||112|mg/dL|70-99|H|||F|||20260302084000",
    b"OBX|2|NM|2951-2^Sodium^LN||134|mmol/L|136-145|L|||F|||20260302084000",
    b"OBX|3|NM|2823-3^Potassium^LN||4.1|mmol/L|3.5-5.1|N|||F|||20260302084000",
    b"OBX|4|NM|2160-0^Creatinine^LN||1.3|mg/dL|0.5-1.1|H|||F|||20260302084000",
)
_TEMPLATES = tuple(b"\r".join(segments) + b"\r" for segments in (_ADMISSION, _RESULT))
NUMBER_DIGITS = 9
"""Of the message's number in its control ID."""
_PATIENTS = 100_000_000


def unique_prefix() -> str:
    """Ten characters that no other run is likely to use."""
    return f"LT{secrets.token_hex(4).upper()}"


class Generator:
    """Makes ADT^A01 and ORU^R01 messages of about 600 bytes in turn, each with a control ID of its own.

    The control ID is `prefix` and the message's number in `NUMBER_DIGITS` digits: with `unique_prefix` within the 20
    characters that versions before 2.7 allow.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix.encode("latin-1")

    def message(self, number: int) -> bytes:
        """The message of this number, from 0 on."""
        return _TEMPLATES[number & 1] % {
            b"control_id": b"%b%0*d" % (self._prefix, NUMBER_DIGITS, number),
            b"patient": number % _PATIENTS,
        }

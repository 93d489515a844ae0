"""The messages of the benchmark: admissions and laboratory results of invented patients, about 570 bytes each, or padded."""

from __future__ import annotations

ID_DIGITS = 9
"""At the end of each control ID: the number of the message in its load."""
TYPICAL_BYTES = 570
_ADMISSION = (
    b"MSH|^~\\&|WARDSYS|NORTH|EHR|MAIN|20260105120000||ADT^A01^ADT_A01|%b%09d|P|2.5.1\r"
    b"EVN|A01|20260105115900|||77001^CLERK^ANNA\r"
    b"PID|1||%09d^^^NORTH^MR~881-44-0001^^^SSA^SS||SAMPLE^PATRICIA^Q^^MS||19710203|F||2106-3^White^HL70005|"
    b"12 EXAMPLE ROAD^FLOOR 3^TESTFORD^OH^44001^USA^H||^PRN^PH^^1^330^5550101|^WPN^PH^^1^330^5550102|ENG|M|CHR|AC0044001\r"
    b"NK1|1|SAMPLE^PETER|SPO^Spouse^HL70063|12 EXAMPLE ROAD^FLOOR 3^TESTFORD^OH^44001^USA|^PRN^PH^^1^330^5550103\r"
    b"PV1|1|I|WARD7^12^B^NORTH|U|||88001^DOCTOR^DORA^^^DR|88002^REFERRER^RAY^^^DR||SUR|||||A0|||V00440012|SELF\r"
)
_RESULT = (
    b"MSH|^~\\&|LABSYS|NORTH|EHR|MAIN|20260105120000||ORU^R01^ORU_R01|%b%09d|P|2.5.1\r"
    b"PID|1||%09d^^^NORTH^MR||SAMPLE^PAUL^T||19820304|M||2106-3^White^HL70005|34 SPECIMEN LANE^^TESTFORD^OH^44002^USA\r"
    b"PV1|1|O|LAB^^^NORTH\rORC|RE|OR0055001|FI0055001||CM\r"
    b"OBR|1|OR0055001|FI0055001|24323-8^Comprehensive metabolic panel^LN|||20260105113000|||||||||88003^ORDERER^OLGA\r"
    b"OBX|1|NM|2345-7^Glucose^LN||104|mg/dL|70-99|H|||F|||20260105114500\r"
    b"OBX|2|NM|2160-0^Creatinine^LN||1.0|mg/dL|0.6-1.2|N|||F|||20260105114500\r"
    b"OBX|3|NM|3094-0^Urea nitrogen^LN||15|mg/dL|7-20|N|||F|||20260105114500\r"
)
_DOCUMENT = b"OBX|9|ED|18842-5^Document^LN||^AP^^Base64^%b||||||F\r"


def build(prefix: bytes, numbers: range, size: int = 0) -> list[bytes]:
    """A message for each of `numbers`, with control ID `prefix` and the number, without framing.

    At least `size` bytes long, filled by a document in OBX-5.
    """
    forms = _ADMISSION, _RESULT
    messages = [forms[number & 1] % (prefix, number, number) for number in numbers]
    if size <= max(map(len, messages), default=0):
        return messages
    return [message + _DOCUMENT % (b"QUJD" * ((size - len(message) - len(_DOCUMENT)) // 4 + 1)) for message in messages]

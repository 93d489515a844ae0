"""The OperationOutcome resources a Medplum server answers with (https://hl7.org/fhir/R4/operationoutcome.html)."""

from __future__ import annotations

from medagent.testing.fhir_server.jsontext import JsonObject


def _outcome(severity: str, code: str, text: str, identifier: str = "") -> JsonObject:
    issue = {"severity": severity, "code": code, "details": {"text": text}}
    if identifier:
        return {"resourceType": "OperationOutcome", "id": identifier, "issue": [issue]}
    return {"resourceType": "OperationOutcome", "issue": [issue]}


def all_ok() -> JsonObject:
    return _outcome("information", "informational", "All OK", "ok")


def not_found() -> JsonObject:
    return _outcome("error", "not-found", "Not found", "not-found")


def unauthorized() -> JsonObject:
    return _outcome("error", "login", "Unauthorized", "unauthorized")


def bad_request(text: str) -> JsonObject:
    return _outcome("error", "invalid", text)


def server_error(diagnostics: str) -> JsonObject:
    outcome = _outcome("error", "exception", "Internal server error")
    outcome["issue"][0]["diagnostics"] = diagnostics
    return outcome


def too_many_requests() -> JsonObject:
    return _outcome("error", "throttled", "Too Many Requests", "too-many-requests")


def accepted(location: str) -> JsonObject:
    outcome = _outcome("information", "informational", "Accepted", "accepted")
    outcome["issue"][0]["diagnostics"] = location
    return outcome

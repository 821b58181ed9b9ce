"""Numbers that other implementations know as well."""

from aioquic.h3.connection import ErrorCode

from mqvpn.wire.http3 import H3ErrorCode, Setting


def test_error_codes_are_those_of_the_registry() -> None:
    assert {code.name: code.value for code in ErrorCode}.items() <= {
        code.name: code.value for code in H3ErrorCode
    }.items()


def test_settings_are_those_of_the_registry() -> None:
    assert {setting.name: setting.value for setting in Setting} == {
        "QPACK_MAX_TABLE_CAPACITY": 0x01,
        "MAX_FIELD_SECTION_SIZE": 0x06,
        "QPACK_BLOCKED_STREAMS": 0x07,
        "ENABLE_CONNECT_PROTOCOL": 0x08,
        "H3_DATAGRAM": 0x33,
    }

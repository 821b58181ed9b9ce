"""Key derivation against the test vectors of RFC 9001, appendix A."""

from mqvpn.dataplane import engine
from mqvpn.multipath.keys import DirectionKeys, expand_label
from mqvpn.multipath.seam import CipherSuite
from tests.multipath.recording import RecordingConnection

CLIENT_INITIAL = bytes.fromhex("c00cf151ca5be075ed0ebfb5c80323c42d6b7db67881289af4008f1f6c357aea")
CHACHA_SECRET = bytes.fromhex("9ac312a7f877468ebe69422748ad00a15443f18203a07d6060f688f30f21632b")


def test_labels_of_appendix_a1() -> None:
    assert expand_label("sha256", CLIENT_INITIAL, "quic key", 16).hex() == "1f369613dd76d5467730efcbe3b1a22d"
    assert expand_label("sha256", CLIENT_INITIAL, "quic iv", 12).hex() == "fa044b2f42a3fd3b46fb255c"
    assert expand_label("sha256", CLIENT_INITIAL, "quic hp", 16).hex() == "9f50449e04a0e810283a1e9933adedd2"


def test_chacha20_keys_and_their_update_of_appendix_a5() -> None:
    connection = RecordingConnection()
    DirectionKeys(connection, engine.SEND, CipherSuite.CHACHA20_POLY1305_SHA256, CHACHA_SECRET)
    first, second = connection.calls_of("set_keys")
    direction, generation, suite, key, iv, hp = first
    assert (direction, generation, suite) == (engine.SEND, 0, engine.CHACHA20_POLY1305)
    assert key.hex() == "c6d98ff3441c3fe1b2182094f69caa2ed4b716b65488960a7a984979fb23e1c8"
    assert iv.hex() == "e0459b3474bdd0e44a41c144"
    assert hp.hex() == "25a282b9e82f06f21f488917a4fc8f1b73573685608597d0efcb076b0ab7a7a4"
    updated = bytes.fromhex("1223504755036d556342ee9361d253421a826c9ecdf3c7148684b36b714881f9")
    assert second[1] == 1
    assert second[3] == expand_label("sha256", updated, "quic key", 32)
    assert second[5] == hp


def test_each_key_update_installs_the_generation_after_it_once() -> None:
    connection = RecordingConnection()
    keys = DirectionKeys(connection, engine.RECEIVE, CipherSuite.AES_256_GCM_SHA384, bytes(48))
    keys.update(1)
    keys.update(1)
    keys.update(2)
    installed = connection.calls_of("set_keys")
    assert [arguments[1] for arguments in installed] == [0, 1, 2, 3]
    assert len({arguments[3] for arguments in installed}) == 4
    assert {len(arguments[3]) for arguments in installed} == {32}

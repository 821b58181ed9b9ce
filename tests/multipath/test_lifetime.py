"""What ends a connection by itself, and when."""

from mqvpn.multipath.lifetime import HANDSHAKE_TIMEOUT, Lifetime

PTO = 0.1


def test_a_handshake_has_its_time_from_its_first_datagram() -> None:
    lifetime = Lifetime(30.0)
    assert lifetime.next_timeout(0.0, PTO) is None
    lifetime.begin(5.0)
    lifetime.begin(8.0)
    assert lifetime.next_timeout(0.0, PTO) == 5.0 + HANDSHAKE_TIMEOUT
    assert lifetime.reason() == "handshake timeout"


def test_the_shorter_idle_timeout_counts_and_0_is_none() -> None:
    for own, peer, expected in ((30.0, 20.0, 30.0), (20.0, 30.0, 30.0), (30.0, 0.0, 40.0), (0.0, 20.0, 30.0)):
        lifetime = Lifetime(own)
        lifetime.complete(10.0, peer)
        assert lifetime.next_timeout(0.0, PTO) == expected
        assert lifetime.reason() == "idle timeout"
    lifetime = Lifetime(0.0)
    lifetime.complete(10.0, 0.0)
    assert lifetime.next_timeout(0.0, PTO) is None


def test_each_packet_starts_it_anew_and_it_is_never_shorter_than_three_ptos() -> None:
    lifetime = Lifetime(30.0)
    lifetime.complete(10.0, 0.0)
    assert lifetime.next_timeout(25.0, PTO) == 55.0
    assert lifetime.next_timeout(25.0, 20.0) == 85.0


def test_a_server_without_a_path_waits_three_ptos_for_a_new_one() -> None:
    lifetime = Lifetime(30.0)
    lifetime.complete(10.0, 0.0)
    lifetime.notice_paths(False, 12.0, 0.5)
    lifetime.notice_paths(False, 13.0, 0.5)
    assert lifetime.next_timeout(12.0, PTO) == 13.5
    assert lifetime.reason() == "no path left"
    lifetime.notice_paths(True, 13.0, 0.5)
    assert lifetime.next_timeout(12.0, PTO) == 42.0


def test_closing_lasts_three_ptos() -> None:
    lifetime = Lifetime(30.0)
    lifetime.complete(10.0, 0.0)
    lifetime.close(50.0, 2.0)
    assert lifetime.next_timeout(49.0, PTO) == 56.0

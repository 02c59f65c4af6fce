"""Settings: a TOML section, overridden by the environment, checked once, at the edge."""

from pathlib import Path
from typing import Annotated

import msgspec
import pytest

from hotgate import SettingsError, home, load_settings


class Inner(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table inside a section."""

    level: int = 1


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """One field of every kind that a folder's settings use."""

    workers: Annotated[int, msgspec.Meta(ge=1, le=8)] = 1
    ratio: float = 0.5
    express: bool = True
    name: str = "n"
    nothing: str | None = None
    models: list[str] | str = "*"
    ports: tuple[int, ...] = ()
    inner: Inner = Inner()
    api_key: Annotated[str, msgspec.Meta(min_length=8)] = "long enough"

    def __post_init__(self):
        """A bound that no annotation can say."""
        if self.ratio < 0:
            raise ValueError(f"ratio must be at least 0, not {self.ratio:g}")


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Load section `[room]` of this TOML text under these variables."""
    monkeypatch.chdir(tmp_path)

    def load(text=None, **variables):
        if text is not None:
            (tmp_path / "hotgate.toml").write_text(text, encoding="utf-8")
        return load_settings("room", Settings, variables)

    return load


def test_without_a_file_the_defaults_hold(load):
    """No `hotgate.toml`, no variable: nothing is asked of the user."""
    assert load() == Settings()


def test_file_of_the_current_directory_is_read(load):
    """Keys of the own section; other sections are others' business."""
    text = """
        [room]
        workers = 3
        ratio = 0.25
        express = false
        name = "ü"
        models = ["a", "b"]
        ports = [1, 2]
        inner = {level = 7}
        [other]
        frobnicate = 1
    """
    assert load(text) == Settings(
        workers=3, ratio=0.25, express=False, name="ü", models=["a", "b"], ports=(1, 2), inner=Inner(level=7)
    )


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("workers", "4", 4),
        ("ratio", "1e-3", 0.001),
        ("ratio", "2", 2.0),
        ("express", "false", False),
        ("express", "0", False),
        ("express", "true", True),
        ("express", "1", True),
        ("name", "plain", "plain"),
        ("name", "", ""),
        ("name", "7", "7"),
        ("name", "[not json", "[not json"),
        ("nothing", "x", "x"),
        ("models", '["a", "b"]', ["a", "b"]),
        ("models", "*", "*"),
        ("ports", "[80, 443]", (80, 443)),
        ("inner", '{"level": 2}', Inner(level=2)),
    ],
)
def test_variable_overrides_the_file(load, key, text, value):
    """HOTGATE_<SECTION>_<KEY> as text, lists and tables as JSON, whatever the file says."""
    settings = load("[room]\nworkers = 3\nratio = 0.75\n", **{f"HOTGATE_ROOM_{key.upper()}": text})

    assert getattr(settings, key) == value
    assert type(getattr(settings, key)) is type(value)
    assert settings.workers == (value if key == "workers" else 3)


def test_variable_of_another_section_or_without_a_key_is_ignored(load):
    """Kubernetes sets HOTGATE_ROOM_SERVICE_HOST by itself."""
    assert load(HOTGATE_ROOM_SERVICE_HOST="10.0.0.1", HOTGATE_OTHER_WORKERS="9", HOTGATE_HOME="x") == Settings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[room]\nworker = 3", "hotgate.toml: [room] has no key 'worker'; it has workers, ratio, "),
        ("[room]\nworkers = 9", "[room] Expected `int` <= 8 - at `$.workers`, not 9"),
        ("[room]\nworkers = 0", "[room] Expected `int` >= 1 - at `$.workers`, not 0"),
        ("[room]\nworkers = 'many'", "[room] Expected `int`, got `str` - at `$.workers`, not 'many'"),
        ("[room]\nratio = -1.0", "[room] ratio must be at least 0, not -1"),
        ("[room]\nports = [80, 'http']", "at `$.ports[1]`, not [80, 'http']"),
        ("[room]\ninner = {depth = 1}", "unknown field `depth` - at `$.inner`, it has level, not {'depth': 1}"),
        ("[room]\napi_key = 'hunter2'", "at `$.api_key`"),
        ("room = 3", "hotgate.toml: room must be a section, [room], not 3"),
        ("[[room]]\nworkers = 3", "must be a section, [room], not [{'workers': 3}]"),
        ("[room\n", "hotgate.toml is not valid TOML: "),
    ],
)
def test_impossible_value_is_refused_by_key_bound_and_value(load, text, message):
    """One sentence with exit code 2; the value of a secret stays out of it."""
    with pytest.raises(SettingsError) as refused:
        load(text)

    assert message in refused.value.message
    assert "hunter2" not in refused.value.message
    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"HOTGATE_ROOM_WORKERS": "99"}, "[room] Expected `int` <= 8 - at `$.workers`, not '99'"),
        ({"HOTGATE_ROOM_WORKERS": "x"}, "at `$.workers`, not 'x'"),
        ({"HOTGATE_ROOM_EXPRESS": "maybe"}, "at `$.express`, not 'maybe'"),
        ({"HOTGATE_ROOM_PORTS": "80,443"}, "at `$.ports`, not '80,443'"),
        ({"HOTGATE_ROOM_RATIO": "-0.5"}, "ratio must be at least 0, not -0.5"),
        ({"HOTGATE_ROOM_API_KEY": "hunter2"}, "at `$.api_key`"),
    ],
)
def test_impossible_variable_is_refused_the_same_way(load, variables, message):
    """Whoever set it reads which key it went to."""
    with pytest.raises(SettingsError) as refused:
        load(**variables)

    assert message in refused.value.message
    assert "hunter2" not in refused.value.message


def test_bytes_that_are_no_text_are_refused(tmp_path):
    """A file in another encoding is not valid TOML."""
    (tmp_path / "latin.toml").write_bytes('[room]\nname = "ü"\n'.encode("latin-1"))

    with pytest.raises(SettingsError, match="is not valid TOML"):
        load_settings("room", Settings, {"HOTGATE_CONFIG": str(tmp_path / "latin.toml")})


def test_config_elsewhere_is_read_instead(load, tmp_path):
    """HOTGATE_CONFIG replaces the file of the current directory, it does not add to it."""
    (tmp_path / "other.toml").write_text("[room]\nworkers = 5\n")

    settings = load("[room]\nworkers = 2\nname = 'x'\n", HOTGATE_CONFIG=str(tmp_path / "other.toml"))
    assert settings == Settings(workers=5)


@pytest.mark.parametrize("name", ["absent.toml", "."])
def test_config_that_is_not_there_is_refused(load, name):
    """A path that somebody wrote down must exist; the default one need not."""
    with pytest.raises(SettingsError, match=r"HOTGATE_CONFIG names .*which is no file"):
        load(HOTGATE_CONFIG=name)


def test_home_is_absolute_and_not_created(tmp_path, monkeypatch):
    """`.hotgate` of the current directory, unless HOTGATE_HOME says otherwise; empty means unset."""
    monkeypatch.chdir(tmp_path)

    assert home({}) == home({"HOTGATE_HOME": ""}) == tmp_path / ".hotgate"
    assert home({"HOTGATE_HOME": "state"}) == tmp_path / "state"
    assert home({"HOTGATE_HOME": "/var/lib/hotgate"}) == Path("/var/lib/hotgate")
    assert list(tmp_path.iterdir()) == []

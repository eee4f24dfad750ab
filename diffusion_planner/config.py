"""Strict configuration: YAML or JSON mappings into frozen dataclasses."""
import dataclasses
import types
import typing
from pathlib import Path


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names the key, the value and what was expected."""


def load(kind, path):
    """Read a YAML file into the dataclass `kind`.

    Raises ConfigError for an unreadable file, an unknown or missing key, or a wrong type.
    """
    import yaml
    path = Path(path)
    try:
        mapping = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f'{path}: cannot be read ({error.strerror}); expected a YAML file for {kind.__name__}') from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f'{path}: not valid YAML: {" ".join(str(error).split())}') from None
    return from_mapping(kind, mapping, str(path))


def from_mapping(kind, mapping, where=''):
    """Build the dataclass `kind` from a mapping, refusing unknown keys and wrong types."""
    where = where or kind.__name__
    if not isinstance(mapping, dict):
        raise ConfigError(f'{where}: got {type(mapping).__name__}, expected a mapping for {kind.__name__}')
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    unknown = [str(key) for key in mapping if key not in fields]
    if unknown:
        raise ConfigError(f'{where}: unknown key {unknown[0]!r}; expected one of {", ".join(sorted(fields))}')
    required = [name for name, field in fields.items() if name not in mapping and not _has_default(field)]
    if required:
        raise ConfigError(f'{where}: key {required[0]!r} is missing')
    try:
        return kind(**{key: _convert(hints[key], value, f'{where}: {key}') for key, value in mapping.items()})
    except ConfigError:
        raise
    except ValueError as error:  # a dataclass that validates itself in __post_init__
        raise ConfigError(f'{where}: {error}') from None


def to_mapping(record):
    """Turn a dataclass into plain dicts and lists, the inverse of from_mapping."""
    def plain(value):
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, (tuple, list)) else value
    return plain(dataclasses.asdict(record))


def _has_default(field):
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


def _convert(hint, value, where):
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return None if value is None and type(None) in arguments else _convert(arguments[0], value, where)
    if dataclasses.is_dataclass(hint):
        return from_mapping(hint, value, where)
    if origin is tuple:
        return _convert_tuple(arguments, value, where)
    if origin is dict:
        if not isinstance(value, dict):
            raise ConfigError(f'{where}: got {value!r}, expected a mapping')
        return {_convert(arguments[0], key, where): _convert(arguments[1], item, f'{where}.{key}')
                for key, item in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is not typing.Any and (not isinstance(value, hint) or (hint is not bool and isinstance(value, bool))):
        raise ConfigError(f'{where}: got {value!r} ({type(value).__name__}), expected {hint.__name__}')
    return value


def _convert_tuple(arguments, value, where):
    if not isinstance(value, (list, tuple)):
        raise ConfigError(f'{where}: got {value!r}, expected a list')
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        arguments = (arguments[0],) * len(value)
    if len(arguments) != len(value):
        raise ConfigError(f'{where}: got {len(value)} values, expected {len(arguments)}')
    return tuple(_convert(kind, item, f'{where}[{index}]') for index, (kind, item) in enumerate(zip(arguments, value)))

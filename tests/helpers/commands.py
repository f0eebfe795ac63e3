def refuse(main, arguments, capsys):
    """Runs a tool's command on what it must refuse; returns the sentence."""
    try:
        status = main([str(argument) for argument in arguments])
    except SystemExit as end:
        status = end.code
    assert status == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error.strip().splitlines()[-1]

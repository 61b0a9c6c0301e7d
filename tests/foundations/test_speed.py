from dtm.foundations.speed import Speed


def seen(speed, clock, times_and_amounts):
    found = []
    for time, amount in times_and_amounts:
        clock[0] = time
        found.append(speed.seen(amount))
    return found


def test_speed_is_the_gain_over_the_window_and_the_first_look_is_not_counted():
    clock = [0.0]
    speed = Speed(window=10, clock=lambda: clock[0])
    assert seen(speed, clock, [(5, 100), (7, 120), (15, 180)]) == [None, 10.0, 8.0]
    # at 20 the look at 7 is the last that is as old as the window: (400 - 120) / (20 - 7)
    assert seen(speed, clock, [(20, 400)]) == [280 / 13]


def test_what_begins_anew_is_measured_anew_and_no_time_is_no_speed():
    clock = [0.0]
    speed = Speed(clock=lambda: clock[0])
    assert seen(speed, clock, [(0, 50), (0, 60), (1, 5), (2, 7)]) == [None, None, None, 2.0]

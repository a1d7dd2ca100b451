import flask

app = flask.Flask(__name__)


@app.route("/")
def answer():
    return "python answers"


print(app.test_client().get("/").get_data(as_text=True))

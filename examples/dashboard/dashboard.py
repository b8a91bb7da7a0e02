"""A dashboard that is a server of its own: `streamlit run dashboard.py`."""

import streamlit as st

st.title("How much is it?")
amount = st.slider("Pieces", 1, 100, 10)
price = st.number_input("Price of one", value=2.5)
st.metric("Together", f"{amount * price:.2f}")
st.bar_chart({"price": [number * price for number in range(1, amount + 1)]})
